{% if container.name == "c1" %}
the block is never closed
