{% foreach device in devices %}{{ device }}{% endfor %}
