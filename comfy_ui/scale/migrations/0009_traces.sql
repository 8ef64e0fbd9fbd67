-- works with schema 1
ALTER TABLE jobs ADD COLUMN traceparent text;   -- W3C trace context of the span that submitted it
