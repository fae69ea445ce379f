//! Sockets of the boot network: DHCP, TFTP, HTTP files. Thin.
