config system
	option hostname '{{ instance.name }}'
	option timezone 'UTC'
