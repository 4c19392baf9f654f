"""The one road of an invocation: authorise, resolve, lease, environment, run, record."""
