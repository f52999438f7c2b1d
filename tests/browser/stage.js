// Starts the stage in a scene: a state, and if wanted a number of endpoints, `es` and `public`, as `stage.rs` describes them.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export async function stage(scene) {
  const child = spawn(process.env.STAGE, scene.split(" "), { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const said = [];
  await new Promise((resolve, reject) => {
    lines.on("line", (line) => said.push(line) === 3 && resolve());
    child.once("exit", (code) => reject(new Error(`the stage ended with ${code}`)));
  });
  const [address, link, expiredLink] = said;
  return {
    address,
    link,
    expiredLink,
    say: (line) => child.stdin.write(line + "\n"),
    end: () => new Promise((resolve) => { child.once("exit", resolve); child.stdin.end(); }),
  };
}
