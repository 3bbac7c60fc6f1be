{ lib, ... }:

# Written at create, copy and rename: changes made here are lost.
{
  networking.hostName = "nix1";
}
