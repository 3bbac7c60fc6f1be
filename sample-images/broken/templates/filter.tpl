host: {{ container.name|uper }}
