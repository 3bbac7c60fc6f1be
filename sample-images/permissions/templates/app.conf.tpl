; {{ path }} of {{ instance.name }}, written on {{ trigger }}
[server]
port = {{ config_get("user.app.port", properties.port) }}
workers = {{ config_get("user.app.workers", properties.workers) }}
debug = {% if config_get("user.app.debug", "false") == "true" %}on{% else %}off{% endif %}
ephemeral = {{ instance.ephemeral }}

[features]
{% for key, value in config sorted %}{% if "user.app.feature." in key -%}
{{ key|cut:"user.app.feature." }} = {{ value|yesno:"on,off" }}
{% endif %}{% endfor -%}
