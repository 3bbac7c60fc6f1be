# Welcome to {{ instance.name }}: tabs	stay, and so do ünïcode
{% for name in config sorted %}{{ name }}
{% endfor %}
