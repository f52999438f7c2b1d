// Starts the stage in a state, and a browser to look at it.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export async function stage(state) {
  const child = spawn(process.env.STAGE, [state], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const address = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the stage ended with ${code}`)));
  });
  return {
    address,
    say: (line) => child.stdin.write(line + "\n"),
    end: () => new Promise((resolve) => { child.once("exit", resolve); child.stdin.end(); }),
  };
}
