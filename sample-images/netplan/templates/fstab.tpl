{% for name, device in devices reversed sorted %}{% if device.type == "disk" and device.path != "/" -%}
# {{ forloop.Counter }}: {{ name }}
{{ device.source|default:"none" }} {{ device.path }} {% firstof device.fstype "none" %} defaults{% if device.readonly == "true" %},ro{% endif %} 0 0
{% endif %}{% endfor -%}
