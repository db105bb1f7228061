"""Shipped fakes and fixtures, for our tests and for those of driver authors."""
