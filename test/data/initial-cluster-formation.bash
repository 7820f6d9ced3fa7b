#!/bin/bash
# Bootstrap script for initial cluster formation

# Step 1: Generate cluster certificates
caxton security init-ca \
  --ca-cert /etc/caxton/ca.crt \
  --ca-key /etc/caxton/ca.key \
  --validity 3650d

# Step 2: Initialize first node (seed node)
caxton init \
  --node-id node-1 \
  --bind-addr 0.0.0.0:7946 \
  --api-addr 0.0.0.0:8080 \
  --data-dir /var/lib/caxton \
  --cert-dir /etc/caxton/certs \
  --bootstrap-expect 3  # Expected cluster size

# Step 3: Generate node certificate
caxton security gen-cert \
  --node-id node-1 \
  --ca-cert /etc/caxton/ca.crt \
  --ca-key /etc/caxton/ca.key \
  --output /etc/caxton/certs/

# Step 4: Start seed node
caxton server start \
  --config /etc/caxton/config.yaml \
  --bootstrap
