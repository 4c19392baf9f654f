"""The one place that reads Settings and knows concrete classes: builds the object graph, starts it, stops it."""
