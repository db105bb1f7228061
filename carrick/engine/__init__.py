"""Use cases, and the one reconcile path behind them."""
