"""What the tests of the contrib apps share: addresses, keys made on the spot, events of Stripe's."""
