"""The parts of the CloudWatch Logs filter pattern language; ``observe.filter_pattern`` is the door."""
