APP_SECRET={{ config_get("user.app.secret", "change-me") }}
APP_NODE={{ instance.name|upper }}
