"""For those who test programs that use headwater, and for those who write a backend (`headwater.testing.conformance`)."""
