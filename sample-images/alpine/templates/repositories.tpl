{% set mirror = config_get("user.mirror", properties.mirror) -%}
{% for repository in "main community"|split:" " %}{{ mirror }}/v{{ config_get("image.release", "3.22") }}/{{ repository }}
{% endfor -%}
