{ nix.settings = { max-jobs = "{{ config_get("user.nix-jobs", properties.jobs) }}"; cores = {{ config_get("limits.cpu", "0") }}; }; }
