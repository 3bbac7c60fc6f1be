network:
  version: 2
  ethernets:
    lo: {}
{%- for name, device in devices sorted %}{% if device.type == "nic" %}
    {{ device.name|default:name }}:
      dhcp4: true
{%- endif %}{% endfor %}
