"""An AWS on this machine: moto with plug-ins answers the API, and an EC2 instance that is launched is a Linux
machine.
"""
