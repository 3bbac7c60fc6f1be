uci set system.@system[0].hostname='{{ instance.name }}'
uci commit system
