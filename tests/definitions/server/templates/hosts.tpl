HOSTNAME={{ container.name }}
