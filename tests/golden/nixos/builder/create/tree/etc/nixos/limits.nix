{ nix.settings = { max-jobs = "4"; cores = 8; }; }
