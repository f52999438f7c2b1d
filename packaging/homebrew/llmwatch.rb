# The formula of a tap. Before it is published, OWNER becomes the account that publishes the releases, and `sha256` the
# checksum of the source archive of the tag.
class Llmwatch < Formula
  desc "Synthetic uptime monitor for LLM APIs"
  homepage "https://github.com/OWNER/llmwatch"
  url "https://github.com/OWNER/llmwatch/archive/refs/tags/v0.2.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build
  depends_on :linux

  def install
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"llmwatch", "completions")
    (man1/"llmwatch.1").write Utils.safe_popen_read(bin/"llmwatch", "man")
  end

  service do
    run [opt_bin/"llmwatch", "-c", etc/"llmwatch/monitor.toml", "run"]
    keep_alive crashed: true
    environment_variables STATE_DIRECTORY: var/"lib/llmwatch"
  end

  test do
    (testpath/"monitor.toml").write <<~TOML
      [[endpoint]]
      provider = "http"
      base_url = "http://127.0.0.1:9"
    TOML
    system bin/"llmwatch", "-c", testpath/"monitor.toml", "check"
  end
end
