{
  description = "A synthetic uptime monitor for LLM APIs";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forEach = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      manifest = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package;
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "llmwatch";
          inherit (manifest) version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          # The tests start servers on loopback, which the sandbox allows, and tools that it does not have.
          doCheck = false;
          nativeBuildInputs = [ pkgs.installShellFiles ];
          postInstall = ''
            $out/bin/llmwatch man > llmwatch.1
            installManPage llmwatch.1
            for shell in bash zsh fish; do
              $out/bin/llmwatch completions $shell > llmwatch.$shell
              installShellCompletion --cmd llmwatch --$shell llmwatch.$shell
            done
          '';
          meta = {
            description = "A synthetic uptime monitor for LLM APIs";
            license = with pkgs.lib.licenses; [ mit asl20 ];
            mainProgram = "llmwatch";
            platforms = systems;
          };
        };
      });
    };
}
