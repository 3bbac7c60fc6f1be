# {{ path }}: written by the {{ trigger }} trigger
network:
  version: 2
  renderer: {{ properties.renderer }}
  ethernets:
{%- for name, device in devices sorted %}{% if device.type == "nic" %}
    {{ device.name|default:name }}:
      {%- if device.hwaddr %}
      match: {macaddress: "{{ device.hwaddr }}"}
      set-name: {{ device.name|default:name }}
      {%- endif %}
      {%- if device.mtu %}
      mtu: {{ device.mtu }}
      {%- endif %}
      dhcp4: {% if device.nictype == "routed" %}false{% else %}true{% endif %}
      {%- if device.nictype == "routed" %}
      routes:
        - {to: default, via: 169.254.0.1, on-link: true}
      {%- endif %}
{%- endif %}{% empty %}
    # no device
    {}
{%- endfor %}
