//! What a box gets to boot: DHCP answers, file names, iPXE scripts, HTTP boot. Pure.
