"""What the service's page and the studio's pages share: look, small scripts, and their serving."""
