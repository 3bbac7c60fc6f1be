{ imports = [ ./incus.nix ./limits.nix ]; system.stateVersion = "25.05"; }
