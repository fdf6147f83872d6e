"""The forms that a domain's data may have on disk, a module each; `recognise.open_domain` is the door."""
