{ lib, ... }:

# Written at create, copy and rename: changes made here are lost.
{
  networking.hostName = "builder";
  boot.isPrivilegedContainer = true;
  environment.variables.GREETING = "say \"hello\"";
  environment.variables.NIX_REMOTE = "daemon";
  environment.variables.http_proxy = "http://proxy.example.org:3128";
}
