{{ config_get("user.app.keys", "") }}
