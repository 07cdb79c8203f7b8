"""What AWS and its machines give and a Linux machine lacks: metadata service, Lustre client, service manager."""
