"""How the system is run: embedded on one machine, in containers, on Kubernetes."""
