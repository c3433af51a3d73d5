const PAGES: &[(&str, &str)] = &[];
