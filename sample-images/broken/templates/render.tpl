address: {{ config_get("user.address") }}
