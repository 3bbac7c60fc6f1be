DEVICE={% if instance.type == "virtual-machine" %}enp5s0{% else %}{{ properties.device }}{% endif %}
BOOTPROTO={% if config_get("user.address", "") %}none
IPADDR={{ config_get("user.address", "") }}
PREFIX={{ config_get("user.prefix", "24") }}
GATEWAY={{ config_get("user.gateway", "") }}{% else %}dhcp{% endif %}
ONBOOT=yes
HOSTNAME={{ instance.name }}
TYPE=Ethernet
