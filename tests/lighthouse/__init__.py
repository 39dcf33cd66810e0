"""What Lighthouse says of the page. Its npm package has a lock of its own."""
