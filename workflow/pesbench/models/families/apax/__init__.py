"""Family `apax`: its description, its adapter, and apax with the switches of the experiment."""
