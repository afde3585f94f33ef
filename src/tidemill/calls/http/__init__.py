"""HTTP/1.1 behind the transport seam: addresses, connections, pools."""
