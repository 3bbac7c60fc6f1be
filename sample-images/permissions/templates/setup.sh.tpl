#!/bin/sh
# {{ trigger|title }} of {{ instance.name }}
set -eu
{% macro install(package) %}apt-get install -y {{ package }}{% endmacro -%}
{% for package in config_get("user.app.packages", "")|split:"," %}{% if package %}{{ install(package) }}
{% endif %}{% endfor -%}
exec app --check
