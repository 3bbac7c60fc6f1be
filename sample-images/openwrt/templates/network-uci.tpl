{% with address=config_get("user.lan", properties.lan) %}uci -q batch <<-BATCH
	set network.lan=interface
	set network.lan.device='{{ config_get("user.lan-device", "br-lan") }}'
	set network.lan.proto='static'
	add_list network.lan.ipaddr='{{ address }}'
	commit network
BATCH
{% endwith %}{% if config_get("user.wan", "") %}uci set network.wan.proto='{{ config_get("user.wan", "")|lower }}'
uci commit network
{% endif %}exit 0
