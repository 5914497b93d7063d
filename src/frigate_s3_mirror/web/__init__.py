"""The status page: what a person, Prometheus or an uptime monitor sees of the mirror over HTTP."""
