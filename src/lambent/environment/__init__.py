"""One execution environment: its phases, the Runtime API, pools."""
