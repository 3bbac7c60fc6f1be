# /etc/inittab
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default

# Set up a couple of getty's
{% for n in "1234"|make_list %}tty{{ n }}::respawn:/sbin/getty 38400 tty{{ n }}
{% endfor %}
{%- if instance.type == "virtual-machine" %}
# Put a getty on the serial port
ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100
{%- else %}
# The host's console
::respawn:/sbin/getty 38400 console
{%- endif %}

# Stuff to do before rebooting
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/openrc shutdown
