{ lib, ... }:

# Written at create, copy and rename: changes made here are lost.
{
  networking.hostName = "{{ container.name }}";
  {%- if container.privileged == "true" %}
  boot.isPrivilegedContainer = true;
  {%- endif %}
  {%- for key, value in config sorted %}{% if "environment." in key %}
  environment.variables.{{ key|cut:"environment." }} = "{{ value|addslashes }}";
  {%- endif %}{% endfor %}
}
