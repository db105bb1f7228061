"""The scale run: simulated nodes by thousands, with the real cluster code, against a real etcd."""
